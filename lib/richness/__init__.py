"""richness: models, online trainers and measurements across the feature learning strength γ."""
