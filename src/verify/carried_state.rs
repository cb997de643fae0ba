//! What the comparison of carried columns has found.

/// What is wrong with the carried columns, and how they were compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CarriedState {
    /// A column that is not as it was written.
    pub wrong_digest: Option<String>,
    /// A difference in the rows of the input.
    pub wrong_rows: Option<String>,
    /// A difference from the input.
    pub wrong_carried: Option<String>,
    /// How the columns were compared with the input, as a clause.
    pub compared: String,
}
