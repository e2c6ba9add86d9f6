"""People: what those who sign in during the browser's tests share."""

PASSWORD = "correct horse battery"
