"""A simulated market: the auction in which models meet, the A/B test between them, and Table 5 made of it."""
