"""When a certificate holds, read from its own bytes."""

from datetime import UTC, datetime

import pytest

from dicom_node.network.tls import read_certificates

PEM = """-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIURf/JBXGVHVegRKlKcNVhvNynj9owCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAgFw0yNjExMjAyMTQ4MzFaGA8yMTI2MTAyNzIxNDgzMVow
DDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABO+m34aKj/di
TBaOzA9tEHiCLvJD7AGVDe271r6Lb3SKX6wEF0Dk5u08Guv4TGuTQqxJBWeHgKR0
zeh0U6mp8XWjUzBRMB0GA1UdDgQWBBTOv4Nh7QXTCy6NQCHRajlLdxfrbTAfBgNV
HSMEGDAWgBTOv4Nh7QXTCy6NQCHRajlLdxfrbTAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCICIdJ3tmh8lzFfqzG5IHwIjXCQkPLozuJl5nZcUclbrr
AiEA2GoYah6XwBVwewsPhVsn64QEzNfF1e/pP7mNx3FXaNU=
-----END CERTIFICATE-----
"""
"""Made by openssl, which prints notBefore=Nov 20 21:48:31 2026 GMT, notAfter=Oct 27 21:48:31 2126 GMT."""


def test_dates_are_those_that_openssl_prints() -> None:
    """UTCTime (2026) and GeneralizedTime (2126), of each certificate of a chain; text around them does not matter."""
    first, second = read_certificates(f"Subject: x\n{PEM}\n{PEM}".encode(), file="chain.pem")
    assert first.not_before == datetime(2026, 11, 20, 21, 48, 31, tzinfo=UTC)
    assert first.not_after == datetime(2126, 10, 27, 21, 48, 31, tzinfo=UTC)
    assert (first.name, second.name) == ("chain.pem", "chain.pem (certificate 2)")


@pytest.mark.parametrize("pem", ["", "no certificate", PEM[:200], PEM[:60] + "\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate_is_an_error(pem: str) -> None:
    """An empty text, prose, and certificates that are cut off raise ValueError, whatever is wrong with them."""
    with pytest.raises(ValueError):  # noqa: PT011 - every cause counts
        list(read_certificates(pem.encode(), file="x.pem"))
