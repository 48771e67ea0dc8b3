"""The command line `pvesmb`. gRPC and rich are imported only where they are used, so that help and completion are quick."""
