"""Batch normalisation without gradient explosion, S3, chapter 13."""
