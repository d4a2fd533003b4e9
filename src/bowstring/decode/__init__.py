"""Tokens from packed decoders: numpy and the native library, never torch. Open models and our own text share
it.
"""
