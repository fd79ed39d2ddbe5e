"""The sagas of this shop, one file each. A new file here is a new saga; nothing else has to know."""
