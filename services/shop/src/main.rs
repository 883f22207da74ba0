//! The app node: an axum server around one or several session strategies.
fn main() {}
