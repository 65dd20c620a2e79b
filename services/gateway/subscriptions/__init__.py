"""The subscription model: documents that a page holds are kept current, and new ones come that it is interested in.

A page says which documents it has and in which versions, which of their fields it wants, and which new ones interest
it (`request`). What equal subscriptions want is one `Interest`, for which each tweet is matched (`query`) and encoded
(`fields`) once. It hangs on the rooms of the labels that its query is bound to, so that it is bound, covered and
mended with them. `delivery` tells subscriptions what happens, `entering` what has happened before they came.
"""
