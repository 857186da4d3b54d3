"""Problems (RFC 9457): how errors become answers, and the catalogue as pages."""
