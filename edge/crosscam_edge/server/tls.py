"""The certificate and the key that an HTTP interface shows and keeps."""

from __future__ import annotations

import os
import ssl
import stat
from typing import TYPE_CHECKING

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what encrypts connections, by TLS 1.2 or later.

    Args:
        certificate: PEM: the certificate, then those that lead to its authority.
        key: PEM: its private key, without a password.

    Raises:
        InputError: One of them cannot be read, they do not belong together, the key has a password,
            or others than its owner and group may read or change it.
    """
    for path in (certificate, key):
        try:
            path.open("rb").close()
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({os.strerror(error.errno or 0)})",
                expected="a file in PEM",
                fix="check --tls-cert and --tls-key",
            ) from None
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise InputError(
            f"the key {key} can be read or changed by others (mode {mode:04o})",
            expected="a key that is its owner's alone, or that a group may read",
            fix=f"chmod 600 {key}",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without an answer OpenSSL would ask the terminal for a password.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or "no PEM, or a password"
        raise InputError(
            f"{certificate} and {key} cannot be used ({reason})",
            expected="a certificate and its own key, both in PEM, the key without a password",
            fix="openssl x509 -in CERTIFICATE -noout -pubkey; openssl pkey -in KEY -pubout",
        ) from None
    return context
