# The entrypoint of the lab's nginx image: gives Debian's nginx the layout of
# the official image, in the Pod's own copy of /etc, and a page with the
# Pod's name. Files of volumes are not changed.
set -e
mounted() { grep -q " $1 " /proc/self/mounts; }

mkdir -p /etc/nginx/conf.d /usr/share/nginx/html /var/lib/nginx /var/log/nginx
mounted /usr/share/nginx/html || mounted /usr/share/nginx/html/index.html ||
  echo "Welcome to nginx! pod=${POD_NAME:-$(hostname)}" >/usr/share/nginx/html/index.html

mounted /etc/nginx/conf.d || mounted /etc/nginx/conf.d/default.conf ||
  cat >/etc/nginx/conf.d/default.conf <<'CONF'
server {
  listen 80;
  listen [::]:80;
  root /usr/share/nginx/html;
  default_type text/plain;
  index index.html;
}
CONF

mounted /etc/nginx || mounted /etc/nginx/nginx.conf ||
  cat >/etc/nginx/nginx.conf <<'CONF'
worker_processes 1;
error_log /dev/stderr;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
  include /etc/nginx/mime.types;
  access_log /dev/stdout;
  include /etc/nginx/conf.d/*.conf;
}
CONF

exec "$@"
