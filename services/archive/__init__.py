"""Archive: keeps recent tweets and answers what a label had, and what somebody missed."""
