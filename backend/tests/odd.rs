//! Files that are honest but odd: still pictures with the name of a film.

mod support;

use glimpse_backend::job::Done;
use glimpse_contract::Code;
use support::Scene;

#[tokio::test]
async fn a_still_picture_is_no_damaged_film() {
    let boxed =
        |kind: &[u8; 4], body: &[u8]| [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat();
    for brand in [b"heic", b"avif"] {
        let head = boxed(b"ftyp", &[&brand[..], b"\0\0\0\0mif1", &brand[..]].concat());
        let picture = [head, boxed(b"meta", &[0; 64]), boxed(b"mdat", &[7; 900])].concat();
        let result = Scene::new(picture).run().await.result;
        assert_eq!(result, Ok(Done::Rejected(Code::NotAVideo)), "{}", brand.escape_ascii());
    }
}
