"""The key with which we come to a guest."""

from __future__ import annotations

import base64

import paramiko

from services.ssh.keys import key_from


def test_it_is_always_the_same() -> None:
    # printf 'a secret' | sha256sum; that as the seed of an Ed25519 key, by openssl(1).
    assert (
        key_from("a secret").public_line
        == "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8YdgwA0Bi2DsWIzgaZiC/iRwLgYQUe9pv7wdcBNSjs"
    )
    assert key_from(b"a secret").public_line == key_from("a secret").public_line != key_from("a secre").public_line


def test_both_halves_belong_together() -> None:
    key = key_from("a secret")
    signature = paramiko.Message(key.private.sign_ssh_data(b"data").asbytes())
    public = paramiko.Ed25519Key(data=base64.b64decode(key.public_line.split()[1]))
    assert public.verify_ssh_sig(b"data", signature)


def test_nothing_private_is_shown() -> None:
    assert "private" not in repr(key_from("a secret"))
