"""One module and its repair as a web page: a document, and the page that is drawn from it."""
