"""Container images: what each of them installs. The Dockerfile, the settings of servers and scripts lie beside this."""
