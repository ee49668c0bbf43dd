//! One request of HTTP/1.1 and its response, within limits of size and time.

use crate::clock;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of a request, which has no body, and how many headers it may have.
const REQUEST_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// Time for a request to come, and for its response to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keys that one request may ask for.
const KEYS_MAX: usize = 64;

/// What of a request matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// GET or HEAD.
    pub is_read: bool,
    pub is_head: bool,
    pub path: String,
    pub query: String,
    pub host: String,
    authorization: String,
}

impl Request {
    /// The name and the password that it brings along: basic authentication, or a bearer token, which
    /// has no name.
    pub fn credentials(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (scheme, rest) = self.authorization.split_once(' ')?;
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Some((Vec::new(), rest.trim().as_bytes().to_vec())),
            "basic" => {
                let pair = from_base64(rest.trim())?;
                let colon = pair.iter().position(|&byte| byte == b':')?;
                Some((pair[..colon].to_vec(), pair[colon + 1..].to_vec()))
            }
            _ => None,
        }
    }

    /// The keys in `keys=a,b`; commas and whatever else is special are escaped by `%`.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let lists = pairs.filter(|(name, _)| *name == "keys").flat_map(|(_, list)| list.split(','));
        lists.map(unescape).filter(|key| !key.is_empty()).take(KEYS_MAX).collect()
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    out
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::new();
    let (mut bits, mut held) = (0, 0u32);
    for byte in text.trim_end_matches('=').bytes() {
        held = held << 6 | u32::from(value(byte)?);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(out)
}

/// What is answered.
#[derive(Debug)]
pub struct Response {
    status: u16,
    kind: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Response {
    fn new(status: u16, kind: &'static str, body: String) -> Response {
        Response { status, kind, headers: Vec::new(), body }
    }

    pub fn text(status: u16, body: &str) -> Response {
        Response::new(status, "text/plain; charset=utf-8", body.to_string())
    }

    pub fn json(body: String) -> Response {
        Response::new(200, "application/json", body)
    }

    pub fn page(body: String) -> Response {
        Response::new(200, "text/html; charset=utf-8", body)
    }

    pub fn metrics(body: String) -> Response {
        Response::new(200, "text/plain; version=0.0.4; charset=utf-8", body)
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Response {
        self.headers.push((name, value.to_string()));
        self
    }

    fn encode(&self, with_body: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            405 => "Method Not Allowed",
            421 => "Misdirected Request",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let mut head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
             Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n",
            self.status,
            self.kind,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        if with_body {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        bytes
    }
}

/// Reads one request, answers it and closes the connection.
pub fn converse(mut stream: TcpStream, answer: impl FnOnce(&Request) -> Response) {
    let begun = clock::monotonic();
    // What goes wrong from here on is the peer's: it is gone, or too slow.
    if stream.set_nonblocking(false).is_err() || stream.set_write_timeout(Some(PATIENCE)).is_err() {
        return;
    }
    let Some(read) = receive(&mut stream, begun) else { return };
    let (response, with_body) = match read {
        Ok(request) => (answer(&request), !request.is_head),
        Err(refusal) => (refusal, true),
    };
    if stream.write_all(&response.encode(with_body)).is_ok() {
        let _ = stream.shutdown(Shutdown::Write);
        // What the peer has sent and nobody has read would have the kernel throw the response away.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
        let _ = stream.read(&mut [0; 1024]);
    }
}

/// A request, or what is answered to one that is none; nothing when the peer has gone.
fn receive(stream: &mut TcpStream, begun: Instant) -> Option<Result<Request, Response>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        // However slowly it comes, byte by byte.
        let left = PATIENCE.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(len) => bytes.extend_from_slice(&piece[..len]),
        }
        match parse(&bytes) {
            Ok(Some(request)) => return Some(Ok(request)),
            Ok(None) if bytes.len() < REQUEST_MAX => {}
            Ok(None) => return Some(Err(Response::text(431, "the request is too long\n"))),
            Err(refusal) => return Some(Err(refusal)),
        }
    }
}

/// The request that the bytes are; none when more are to come.
fn parse(bytes: &[u8]) -> Result<Option<Request>, Response> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Response::text(431, "there are too many headers\n"));
        }
        Err(error) => return Err(Response::text(400, &format!("{error}\n"))),
    }
    let target = parsed.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        is_read: matches!(parsed.method, Some("GET" | "HEAD")),
        is_head: parsed.method == Some("HEAD"),
        path: path.to_string(),
        query: query.to_string(),
        ..Request::default()
    };
    for header in parsed.headers.iter() {
        let value = String::from_utf8_lossy(header.value).into_owned();
        match header.name.to_ascii_lowercase().as_str() {
            // A second one could be the one that something in front of us has looked at.
            "host" if !request.host.is_empty() => {
                return Err(Response::text(400, "there is more than one Host\n"));
            }
            "host" => request.host = value,
            "authorization" => request.authorization = value,
            _ => {}
        }
    }
    Ok(Some(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        parse(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn requests_are_read_and_refused() {
        let text =
            "GET /state.json?keys=celery,a%2Cb,+x%zz HTTP/1.1\r\nHost: localhost:9121\r\n\r\n";
        let read = request(text);
        assert_eq!((read.path.as_str(), read.host.as_str()), ("/state.json", "localhost:9121"));
        assert_eq!(read.keys(), [&b"celery"[..], b"a,b", b" x%zz"]);
        assert!(read.is_read && !read.is_head);
        for end in 1..text.len() {
            assert!(matches!(parse(&text.as_bytes()[..end]), Ok(None)), "{end}");
        }
        assert!(!request("POST / HTTP/1.1\r\nHost: a\r\n\r\n").is_read);
        assert!(request("HEAD / HTTP/1.0\r\n\r\n").is_head);
        let status = |text: &str| parse(text.as_bytes()).unwrap_err().status;
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
        assert_eq!(status("*1\r\n$4\r\nPING\r\n"), 400);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(status(&many), 431);
    }

    #[test]
    fn passwords_come_in_two_ways() {
        let with = |value: &str| {
            request(&format!("GET / HTTP/1.1\r\nAuthorization: {value}\r\n\r\n")).credentials()
        };
        assert_eq!(
            with("Basic YWRtaW46c2VjcmV0OjE="),
            Some((b"admin".to_vec(), b"secret:1".to_vec()))
        );
        assert_eq!(with("basic Og=="), Some((b"".to_vec(), b"".to_vec())));
        assert_eq!(with("Bearer  secret"), Some((b"".to_vec(), b"secret".to_vec())));
        for wrong in ["Basic YWRtaW4=", "Basic ???", "Digest x", "Basic"] {
            assert_eq!(with(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn responses_say_how_long_they_are() {
        let response = Response::text(401, "no\n").header("WWW-Authenticate", "Basic");
        let text = String::from_utf8(response.encode(true)).unwrap();
        assert!(text.starts_with("HTTP/1.1 401 Unauthorized\r\n"));
        assert!(text.contains("\r\nContent-Length: 3\r\n"));
        assert!(text.ends_with("WWW-Authenticate: Basic\r\n\r\nno\n"));
        assert!(String::from_utf8(response.encode(false)).unwrap().ends_with("\r\n\r\n"));
    }
}
