"""Results as documents (JSON-ready data), and documents as text."""
