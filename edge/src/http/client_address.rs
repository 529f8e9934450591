//! Keys of clients for rate limits, from their IP addresses. Pure.

use std::net::IpAddr;

/// The key of requests without an address. All of them share one counter.
const UNKNOWN: &str = "unknown";

/// The key of a client: its IPv4 address, or the /64 prefix of its IPv6 address, since one customer of a network gets a
/// /64. Cloudflare sets `CF-Connecting-IP`, and a client cannot change it:
/// <https://developers.cloudflare.com/fundamentals/reference/http-headers/#cf-connecting-ip>.
pub fn client_key(connecting_ip: Option<&str>) -> String {
    let Some(Ok(address)) = connecting_ip.map(|text| text.trim().parse::<IpAddr>()) else {
        return UNKNOWN.to_owned();
    };
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_key_is_ipv4_or_ipv6_64_prefix() {
        for (address, key) in [
            (Some("203.0.113.7"), "203.0.113.7"),
            (Some(" 203.0.113.7 "), "203.0.113.7"),
            (Some("::ffff:203.0.113.7"), "203.0.113.7"),
            (Some("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2"),
            (Some("2001:db8:1:2::1"), "2001:db8:1:2"),
            (Some("2001:DB8:1:2:ffff::"), "2001:db8:1:2"),
            (Some("2001:db8:1:3::1"), "2001:db8:1:3"),
            (Some("::1"), "0:0:0:0"),
            (Some("203.0.113.7, 198.51.100.1"), UNKNOWN),
            (Some("203.0.113.7:443"), UNKNOWN),
            (Some(""), UNKNOWN),
            (None, UNKNOWN),
        ] {
            assert_eq!(client_key(address), key, "{address:?}");
        }
    }
}
