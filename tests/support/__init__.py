"""What the tests need of the outside: a broker, running services, clients."""
