"""Made-up posts for the source `synthetic`: who writes them, what they say, how they change and go.

All of it is invented: no real person or company is named, and links lead to domains reserved for examples.
"""
