"""Messages go by mail: encrypted to the mail server (STARTTLS, RFC 3207), one mail for all that is due."""

import smtplib
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from alerts.message import Message, subject_of, text_of
from dicom_node.delivery.channel import Receipt
from dicom_node.delivery.errors import Busy, NotAdmitted, Refused, Undeliverable, Unreachable
from dicom_node.delivery.secret_file import secrets_of
from dicom_node.delivery.time_limit import STEPS, time_limit
from dicom_node.network.tls import TlsError, reason_of, server_trust
from dicom_node.settings import MailDestination

__all__ = ["MailChannel"]

_PERMANENT = 500  # RFC 5321 section 4.2.1: 5yz is not to be tried again as it is, 4yz is
_TAKEN = frozenset({250, 251})
_MOST_TOGETHER = 100


class MailChannel:
    """The mail server of a destination, and whom it writes to."""

    most_together = _MOST_TOGETHER

    def __init__(self, settings: MailDestination, *, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s

    def tell(self, key: str, messages: Sequence[Message]) -> Receipt:
        """Send one mail with all of them; those who are refused as its readers are counted in the answer.

        Raises:
            Unreachable, NotAdmitted, Busy: worth another attempt.
            Refused: the server does not take it, or none of its readers.
            Undeliverable: it is longer than the server takes.
        """
        mail = self._mail(key, messages).as_bytes()
        settings = self._settings
        with self._session() as server:
            most = server.esmtp_features.get("size", "")
            if most.isdigit() and 0 < int(most) < len(mail):
                raise Undeliverable(f"It has {len(mail)} bytes; {settings.host} takes {most}.")
            try:
                refused = server.sendmail(settings.sender, settings.to, mail)
            except smtplib.SMTPRecipientsRefused as error:
                codes = [code for code, _ in error.recipients.values()]
                raise _judged(min(codes), f"{settings.host} takes mail for none of its readers") from error
            except smtplib.SMTPResponseException as error:
                raise _judged(error.smtp_code, settings.host) from error
        if not refused:
            return Receipt(answer="250")
        codes = sorted({code for code, _ in refused.values()})
        return Receipt(answer=f"250; {len(refused)} of {len(settings.to)} readers refused ({codes})", warning=True)

    def check(self) -> str:
        """Greet the server, encrypt, sign in where that is set, and ask nothing.

        Raises:
            DeliveryError: it would not take mail.
        """
        settings = self._settings
        with self._session() as server:
            code, _ = server.noop()
        if code not in _TAKEN:
            raise _judged(code, settings.host)
        return f"{settings.host}:{settings.port} speaks TLS" + (" and lets the node in" if settings.user else "")

    @contextmanager
    def _session(self) -> Generator[smtplib.SMTP]:
        """The server, encrypted and signed in to."""
        settings = self._settings
        server = smtplib.SMTP(timeout=self._timeout_s, local_hostname=socket.gethostname())
        try:
            with time_limit(lambda: server.sock, self._timeout_s * STEPS):
                code, _ = server.connect(settings.host, settings.port)
                if code != 220:
                    raise _judged(code, settings.host)
                server._host = settings.host  # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue] - checked by TLS
                server.starttls(context=server_trust(settings.certificates))
                server.ehlo()
                if settings.user is not None and settings.password_file is not None:
                    server.login(settings.user, secrets_of(settings.password_file)[0])
                yield server
                with suppress(smtplib.SMTPException, OSError):  # what was sent is sent
                    server.quit()
        except smtplib.SMTPAuthenticationError as error:
            raise NotAdmitted(f"{settings.host} replied {error.smtp_code} to who signs in.") from error
        except smtplib.SMTPNotSupportedError as error:
            raise NotAdmitted(f"{settings.host} does not offer what is needed: {error}") from error
        except smtplib.SMTPResponseException as error:
            raise _judged(error.smtp_code, settings.host) from error
        except smtplib.SMTPException as error:
            raise Unreachable(f"{settings.host} broke off.") from error
        except TlsError as error:
            raise NotAdmitted(str(error)) from error
        except OSError as error:
            raise Unreachable(f"{settings.host}: {reason_of(error)}.") from error
        finally:
            server.close()

    def _mail(self, key: str, messages: Sequence[Message]) -> EmailMessage:
        settings = self._settings
        mail = EmailMessage(policy=SMTP)
        mail["From"], mail["To"] = settings.sender, ", ".join(settings.to)
        mail["Subject"] = subject_of(messages)
        mail["Date"] = format_datetime(max(one.raised_at for one in messages))
        mail["Message-ID"] = f"<{key}@{settings.sender.partition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: who is away does not answer
        mail.set_content(text_of(messages), cte="quoted-printable")
        return mail


def _judged(code: int, what: str) -> Busy | Refused:
    return (Refused if code >= _PERMANENT else Busy)(f"{what} ({code}).")
