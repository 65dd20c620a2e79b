"""Gateway: holds the browsers and brings each room's tweets to its members."""
