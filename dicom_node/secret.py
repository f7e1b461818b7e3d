"""Passwords and tokens: made, digested and compared here, and nowhere else."""

import base64
import hashlib
import hmac
import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.fernet import Fernet, InvalidToken

__all__ = ["LEAST_PASSWORD", "digest", "hash_password", "is_password", "new_token", "same", "sealed", "unsealed"]

LEAST_PASSWORD = 12
MOST_PASSWORD = 256
_HASHER = PasswordHasher()  # argon2id with the parameters of RFC 9106 for machines without memory to spare


def new_token() -> str:
    """A token of 256 bits that nobody can guess."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is kept of a token: who reads the table cannot use it."""
    return hashlib.sha256(token.encode()).hexdigest()


def same(given: str, expected: str) -> bool:
    """Whether two tokens are one, told in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())


def sealed(text: str, token: str) -> str:
    """The text as nobody reads it who does not hold the token."""
    return _box(token).encrypt(text.encode()).decode()


def unsealed(given: str, token: str) -> str:
    """What was sealed with this token; empty for all else."""
    try:
        return _box(token).decrypt(given.encode()).decode()
    except InvalidToken:
        return ""


def _box(token: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"sealed {token}".encode()).digest()))


def hash_password(password: str) -> str:
    """The argon2id hash of a password.

    Raises:
        ValueError: it has fewer than twelve characters, or more than 256.
    """
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise ValueError(f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters")
    return _HASHER.hash(password)


def is_password(password: str, password_hash: str | None) -> bool:
    """Whether the password is the one of the hash; as slow where there is no hash, so that time tells nothing."""
    try:
        return _HASHER.verify(password_hash or _nobody(), password[:MOST_PASSWORD]) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobody() -> str:
    return _HASHER.hash(new_token())
