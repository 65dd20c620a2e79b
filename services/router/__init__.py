"""Router: finds the labels of each tweet that somebody wants and publishes it under them."""
