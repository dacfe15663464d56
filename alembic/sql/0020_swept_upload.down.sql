DROP TABLE swept_upload;
