"""smbtorture, Samba's own conformance suites, against shares that were made through the gateway.

On a share with the product's defaults every subtest has to pass that passes on a stock share of Samba or on a Windows-like
one (`baselines/`). `known.toml` names those that do not, each with its reason; where an option of ours forbids them, they
have to pass on another share, also made through the gateway, that has this option the other way.
"""
