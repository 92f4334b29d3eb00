"""sparkrec: raw clicks in, the top N items of every user out, nightly, as Delta tables."""
