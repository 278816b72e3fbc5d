//! The opening handshake, both roles.
