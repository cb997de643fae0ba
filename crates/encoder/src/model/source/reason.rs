//! Why a source does not have the model.

/// Why a source failed, for a message.
pub(super) type Reason = String;

/// Replaces control characters in a text from outside and truncates it, so that it is safe to
/// print.
pub(super) fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 600;
    let mut chars = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = chars.by_ref().take(MAX_CHARS).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}
