//! Text from files.

/// Whether a text can be shown as it is: nothing in it is a control character, which a terminal would obey.
#[must_use]
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}
