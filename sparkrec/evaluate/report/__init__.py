"""The page of a night, and the same as JSON: what happened, is it good, is it healthy, what people get, the cost."""
