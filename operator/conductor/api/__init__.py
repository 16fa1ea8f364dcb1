"""The resource that users write and read: models, names and reasons. A leaf: it imports nothing of ours."""
