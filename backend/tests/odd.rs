//! Files that are honest but odd: still pictures with the name of a film.

mod support;

use glimpse_backend::job::Done;
use glimpse_contract::Code;
use support::Scene;

fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], &kind, body].concat()
}

/// The outermost boxes of a file without a movie, with a `meta` of this handler.
fn with_meta(brand: [u8; 4], handler: [u8; 4]) -> Vec<u8> {
    let handler = boxed(*b"hdlr", &[&[0; 8][..], &handler, &[0; 13]].concat());
    let meta = boxed(*b"meta", &[&[0; 4][..], &handler, &[0; 64]].concat());
    let head = boxed(*b"ftyp", &[&brand[..], b"\0\0\0\0mif1", &brand[..]].concat());
    [head, meta, boxed(*b"mdat", &[7; 900])].concat()
}

#[tokio::test]
async fn a_still_picture_is_no_damaged_film_and_the_other_way_round() {
    for (brand, handler, expected) in [
        (*b"heic", *b"pict", Code::NotAVideo),
        (*b"avif", *b"pict", Code::NotAVideo),
        // A film with tags in front, that was cut off before its index.
        (*b"isom", *b"mdir", Code::Truncated),
    ] {
        let result = Scene::new(with_meta(brand, handler)).run().await.result;
        assert_eq!(result, Ok(Done::Rejected(expected)), "{}", brand.escape_ascii());
    }
}
