#[derive(Debug, Default)]
pub struct Config {}
