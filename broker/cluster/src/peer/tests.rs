//! Two nodes and more over real sockets.
