"""The contract as gRPC servicers, the same for every mode. The only package that knows both protobuf and the domain."""
