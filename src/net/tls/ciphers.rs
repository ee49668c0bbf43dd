//! Ciphers by the names and lists of OpenSSL, which is what the options of Redis have.
//!
//! Of the language of its lists: names, words that stand for several ciphers, `a+b` for those that
//! both name, `!a` to take them out for good, `-a` to take them out, `+a` to put them last. What names
//! no cipher that is here is passed over, as OpenSSL does, and logged.

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::ALL_CIPHER_SUITES;

/// The ciphers of TLSv1.2 that a list names; all of them without one.
pub fn of_tls12(list: Option<&str>) -> Result<Vec<SupportedCipherSuite>, String> {
    choose("tls-ciphers", list, |suite| suite.tls13().is_none())
}

/// As [`of_tls12`] for TLSv1.3.
pub fn of_tls13(list: Option<&str>) -> Result<Vec<SupportedCipherSuite>, String> {
    choose("tls-ciphersuites", list, |suite| suite.tls13().is_some())
}

fn choose(
    option: &str,
    list: Option<&str>,
    fits: impl Fn(&SupportedCipherSuite) -> bool,
) -> Result<Vec<SupportedCipherSuite>, String> {
    let all: Vec<_> = ALL_CIPHER_SUITES.iter().copied().filter(fits).collect();
    let Some(list) = list else { return Ok(all) };
    let (mut chosen, mut barred) = (Vec::new(), Vec::new());
    for term in list.split([':', ',', ';', ' ']).filter(|term| !term.is_empty()) {
        let (sign, word) = match term.as_bytes()[0] {
            sign @ (b'!' | b'-' | b'+') => (Some(sign), &term[1..]),
            _ => (None, term),
        };
        let named: Vec<_> = all
            .iter()
            .copied()
            .filter(|suite| word.split('+').all(|part| is_called(suite, part)))
            .collect();
        if named.is_empty() && sign.is_none() {
            tracing::warn!("{option}: no cipher here is called '{word}'; it is left out");
        }
        if sign == Some(b'+') {
            let moved = named.iter().copied().filter(|suite| chosen.contains(suite));
            let moved: Vec<_> = moved.collect();
            chosen.retain(|suite| !moved.contains(suite));
            chosen.extend(moved);
            continue;
        }
        for suite in named {
            match sign {
                None if chosen.contains(&suite) || barred.contains(&suite) => {}
                None => chosen.push(suite),
                Some(sign) => {
                    chosen.retain(|other| *other != suite);
                    barred.extend((sign == b'!').then_some(suite));
                }
            }
        }
    }
    match chosen.is_empty() {
        true => Err(format!("{option}: '{list}' names no cipher that is here")),
        false => Ok(chosen),
    }
}

/// Whether a cipher has this name, or is one of those for which the word stands.
fn is_called(suite: &SupportedCipherSuite, word: &str) -> bool {
    let standard = standard_name(suite);
    let openssl = openssl_name(&standard);
    // A part of the name also says AESGCM by AES256-GCM.
    let has = |part: &str| standard.split('_').any(|own| own == part);
    match word {
        "ALL" | "DEFAULT" | "HIGH" | "FIPS" | "TLSv1.2" => suite.tls13().is_none(),
        "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" => has("ECDHE"),
        "ECDSA" | "aECDSA" => has("ECDSA"),
        "RSA" | "aRSA" => has("RSA"),
        "AES" | "AESGCM" => has("AES"),
        "AES128" => has("128"),
        "AES256" => has("256") && has("AES"),
        "CHACHA20" => has("CHACHA20"),
        "SHA256" | "SHA384" => has(word),
        name => name == standard || name == openssl,
    }
}

/// As the standard has it: `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`.
fn standard_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

/// As OpenSSL has it: `ECDHE-RSA-AES128-GCM-SHA256`.
fn openssl_name(standard: &str) -> String {
    let name = standard.trim_start_matches("TLS_").replace("_WITH", "").replace("AES_", "AES");
    name.replace("POLY1305_SHA256", "POLY1305").replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Result<Vec<String>, String> {
        let chosen = of_tls12(Some(list))?;
        Ok(chosen.iter().map(|suite| openssl_name(&standard_name(suite))).collect())
    }

    #[test]
    fn all_have_the_names_of_openssl() {
        assert_eq!(
            names("ALL").unwrap(),
            [
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
                "ECDHE-RSA-AES256-GCM-SHA384",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-CHACHA20-POLY1305",
            ]
        );
        let of_tls13 = of_tls13(Some("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"));
        let of_tls13: Vec<_> = of_tls13.unwrap().iter().map(standard_name).collect();
        assert_eq!(of_tls13, ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]);
    }

    #[test]
    fn lists_are_read_as_openssl_does() {
        for name in names("ALL").unwrap() {
            assert_eq!(names(&name), Ok(vec![name.clone()]));
        }
        assert_eq!(
            names("ECDHE+AESGCM:!ECDSA:-AES128"),
            Ok(vec!["ECDHE-RSA-AES256-GCM-SHA384".into()])
        );
        assert_eq!(names("DEFAULT:!MEDIUM:!aNULL").map(|all| all.len()), Ok(6));
        assert_eq!(
            names("aRSA:!CHACHA20:+AES256:CHACHA20+ECDSA:CHACHA20"),
            Ok(vec!["ECDHE-RSA-AES128-GCM-SHA256".into(), "ECDHE-RSA-AES256-GCM-SHA384".into(),])
        );
        assert!(names("RC4-MD5:!HIGH").unwrap_err().contains("'RC4-MD5:!HIGH'"));
        assert!(of_tls13(Some("AESGCM:bogus")).is_ok_and(|suites| suites.len() == 2));
    }
}
