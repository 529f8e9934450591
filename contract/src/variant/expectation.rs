//! The text of an error message that lists the possible values.

/// The values, such as `must be jpg, png or webp`.
pub(super) fn must_be_one_of(values: &[&str]) -> String {
    let mut text = String::from("must be ");
    for (index, value) in values.iter().enumerate() {
        let separator = match index {
            0 => "",
            _ if index + 1 == values.len() => " or ",
            _ => ", ",
        };
        text.extend([separator, *value]);
    }
    text
}
