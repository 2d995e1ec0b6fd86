"""What a run says of itself: blow-up, errors in time, negative values, truncation."""
