pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let s = std::str::from_utf8(text).ok()?;
    let v: i64 = s.parse().ok()?;
    (v.to_string().as_bytes() == text).then_some(v)
}
