"""Postcard: a small latent diffusion model of our own, and the painter it learned from."""
