"""The host, its guests and the module's world switch."""
