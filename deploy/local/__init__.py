"""Roost without Docker: its services as processes of this machine, and a RabbitMQ node of their own."""
