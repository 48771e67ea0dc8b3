"""The container template that file servers are made from: Debian, Samba, sshd and nothing else."""
