"""Names of files that may be videos or images."""

# fmt: off
VIDEO_SUFFIXES = frozenset({".264", ".265", ".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv",
                            ".gif", ".h264", ".h265", ".hevc", ".insv", ".ivf", ".lrv", ".m1v", ".m2t", ".m2ts",
                            ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".mod", ".mov", ".mp4", ".mpe",
                            ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".tod",
                            ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m"})
IMAGE_SUFFIXES = frozenset({".apng", ".avif", ".bmp", ".dib", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg",
                            ".jpg", ".mpo", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"})
# fmt: on
