"""Models on the Hugging Face hub: named, fetched, sent."""
