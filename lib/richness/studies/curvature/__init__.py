"""The Hessian, chapter 5: sharpness at the end of training, and how many eigenvalues stand out."""
