//! Rewrites the sheet's URL in storyboard tables: its format, an absolute URL, and the viewer's token. Pure.
//!
//! The stored tables contain the URL of the JPEG sheet with the same parameters, relative to their own. Players resolve
//! it in WebVTT and in HLS playlists; players that read JSON, such as Mux's `storyboard.json`, use `url` as it is.

use glimpse_contract::{OutputFormat, VariantRequest};

use crate::http::query::{Query, QueryPair};

/// The sheet in the stored tables.
const STORED_SHEET: &str = "storyboard.jpg";

/// Whether this is the path of a storyboard sheet. A token gives access to the sheet and the tables alike, and may
/// select the sheet format of the tables.
pub(super) fn is_sheet(path: &str) -> bool {
    ["/storyboard.jpg", "/storyboard.webp"].iter().any(|sheet| path.ends_with(sheet))
}

/// A query without the format of the sheet.
pub(super) fn remove_format(query: &str) -> String {
    let is_kept = |pair: &QueryPair<'_>| pair.name != "format" || pair.value.is_none();
    Query(query).pairs().filter(is_kept).map(|pair| pair.text).collect::<Vec<_>>().join("&")
}

/// The file name of the sheet in a table.
fn sheet_file(wanted: &VariantRequest) -> &'static str {
    if wanted.has_webp_sheet { "storyboard.webp" } else { STORED_SHEET }
}

/// The URL of the sheet in a table: its file name, and its canonical parameters.
pub(super) fn sheet_url(wanted: &VariantRequest) -> String {
    with_query(sheet_file(wanted), &wanted.variant.query())
}

fn with_query(file: &str, query: &str) -> String {
    [file, if query.is_empty() { "" } else { "?" }, query].concat()
}

/// The ETag of a table that is delivered with other bytes than the stored ones: the ETag of the stored table with the
/// kind of change. `None` for every image that is delivered as it is stored.
pub(super) fn delivered_etag(wanted: &VariantRequest, stored: &str) -> Option<String> {
    let is_json = wanted.variant.format() == OutputFormat::Json;
    if !wanted.variant.format().is_table() || !(is_json || wanted.has_webp_sheet) {
        return None;
    }
    let kind = if wanted.has_webp_sheet { "webp" } else { "url" };
    Some(format!("{}-{kind}\"", stored.trim_end_matches('"')))
}

/// A table as it is delivered, and its ETag. `None` for every image that is delivered as it is stored.
pub(super) fn rewrite_sheet_url(
    wanted: &VariantRequest,
    stored: &[u8],
    etag: &str,
    public_url: &str,
) -> Option<(Vec<u8>, String)> {
    let etag = delivered_etag(wanted, etag)?;
    let text = std::str::from_utf8(stored).ok()?;
    let mut sheet = sheet_file(wanted).to_owned();
    if wanted.variant.format() == OutputFormat::Json {
        sheet = format!("{public_url}/{}/{sheet}", wanted.video);
    }
    Some((text.replace(STORED_SHEET, &sheet).into_bytes(), etag))
}

/// A delivered table with another query in the URL of the sheet: the credential, with the parameters that it does not
/// contain.
pub(super) fn set_sheet_query(wanted: &VariantRequest, table: Vec<u8>, query: &str) -> Vec<u8> {
    match String::from_utf8(table) {
        Ok(text) => text.replace(&sheet_url(wanted), &with_query(sheet_file(wanted), query)).into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::VideoId;

    use super::*;

    const VTT: &str =
        "WEBVTT\n\n0 --> 1\nstoryboard.jpg#xywh=0,0,1,1\n\n1 --> 2\nstoryboard.jpg#xywh=1,0,1,1\n";
    const JSON: &str = r#"{"url":"storyboard.jpg","tile_width":4,"tiles":[{"start":0.0,"x":0,"y":0}]}"#;

    fn wanted(url: &str) -> VariantRequest {
        let (file, query) = url.split_once('?').unwrap_or((url, ""));
        let path = format!("/{}/{file}", VideoId::new(1, [1; 10]));
        VariantRequest::parse(&path, Some(query)).unwrap().unwrap()
    }

    fn rewrite(url: &str, stored: &str) -> Option<(String, String)> {
        let found =
            rewrite_sheet_url(&wanted(url), stored.as_bytes(), "\"0123456789abcdef\"", "https://v.example");
        found.map(|(bytes, etag)| (String::from_utf8(bytes).unwrap(), etag))
    }

    #[test]
    fn table_links_requested_sheet_format() {
        let (text, etag) = rewrite("storyboard.vtt?format=webp", VTT).unwrap();
        assert_eq!(text, VTT.replace(".jpg", ".webp"));
        assert_eq!(etag, "\"0123456789abcdef-webp\"");
        assert_eq!(glimpse_contract::revision_from_etag(&etag), Some("01234567"), "the revision stays");
        assert_eq!(rewrite("storyboard.vtt", VTT), None, "relative to itself");
        assert_eq!(rewrite("storyboard.jpg", VTT), None);
    }

    /// Vidstack and others use `url` as it is.
    #[test]
    fn storyboard_json_url_is_absolute() {
        let base = format!("https://v.example/{}/storyboard", VideoId::new(1, [1; 10]));
        for (url, extension, kind) in
            [("storyboard.json", "jpg", "url"), ("storyboard.json?format=webp", "webp", "webp")]
        {
            let (text, etag) = rewrite(url, JSON).unwrap();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["url"], format!("{base}.{extension}"));
            assert_eq!((json["tile_width"].as_u64(), json["tiles"][0]["x"].as_u64()), (Some(4), Some(0)));
            assert_eq!(etag, format!("\"0123456789abcdef-{kind}\""));
            let opened = set_sheet_query(&wanted(url), text.into_bytes(), "token=a.b.c");
            let json: serde_json::Value = serde_json::from_slice(&opened).unwrap();
            assert_eq!(json["url"], format!("{base}.{extension}?token=a.b.c"));
        }
    }

    /// HEAD and revalidation compute the ETag alone, GET also has the bytes.
    #[test]
    fn etag_is_equal_for_head_and_get() {
        const STORED_ETAG: &str = "\"0123456789abcdef\"";
        let mut etags = vec![STORED_ETAG.to_owned()];
        for (url, stored) in [
            ("storyboard.json", JSON),
            ("storyboard.json?format=webp", JSON),
            ("storyboard.vtt?format=webp", VTT),
        ] {
            let etag = delivered_etag(&wanted(url), STORED_ETAG).unwrap();
            assert_eq!(rewrite(url, stored).map(|(_, etag)| etag).as_ref(), Some(&etag), "{url}");
            assert_ne!(etag, STORED_ETAG, "{url}: other bytes have another ETag");
            etags.push(etag);
        }
        assert_ne!(etags[1], etags[2], "the two forms of storyboard.json");
        for url in [
            "storyboard.vtt",
            "storyboard.vtt?format=jpg",
            "storyboard.m3u8?tiles=9",
            "storyboard.jpg",
            "thumbnail.jpg",
        ] {
            assert_eq!(delivered_etag(&wanted(url), STORED_ETAG), None, "{url}");
        }
    }

    /// A sheet with parameters has them in its URL; a token replaces them, since it contains them.
    #[test]
    fn table_with_parameters_links_same_sheet() {
        let query = "tiles=9&width=240";
        for (file, stored) in [
            ("storyboard.vtt", format!("1 --> 2\nstoryboard.jpg?{query}#xywh=0,0,1,1\n")),
            ("storyboard.m3u8", format!("#EXTM3U\nstoryboard.jpg?{query}\n")),
            ("storyboard.json", format!(r#"{{"url":"storyboard.jpg?{query}"}}"#)),
        ] {
            let url = format!("{file}?width=240&format=webp&tiles=9");
            let (text, etag) = rewrite(&url, &stored).unwrap();
            assert!(text.contains(&format!("storyboard.webp?{query}")) && !text.contains(".jpg"), "{text}");
            assert_eq!(etag, "\"0123456789abcdef-webp\"");
            let signed = set_sheet_query(&wanted(&url), text.into_bytes(), "token=a.b.c");
            let signed = String::from_utf8(signed).unwrap();
            assert!(signed.contains("storyboard.webp?token=a.b.c") && !signed.contains("tiles="), "{signed}");
            let is_json = file.ends_with("json");
            assert_eq!(rewrite(&format!("{file}?{query}"), &stored).is_some(), is_json, "{file}");
        }
    }

    #[test]
    fn recognizes_sheets_and_removes_format() {
        assert!(is_sheet("/v/storyboard.webp") && is_sheet("/v/storyboard.jpg"));
        assert!(!is_sheet("/v/storyboard.vtt") && !is_sheet("/v/thumbnail.jpg"));
        assert_eq!(remove_format("format=webp"), "");
        assert_eq!(remove_format("a=1&format=webp&b=2"), "a=1&b=2");
    }

    #[test]
    fn leaves_non_utf8_unchanged() {
        assert_eq!(set_sheet_query(&wanted("storyboard.vtt"), vec![0xff], "x"), [0xff]);
        assert_eq!(rewrite_sheet_url(&wanted("storyboard.json"), &[0xff], "\"a\"", ""), None);
    }
}
