-- Who is logged in. One string is cheaper to carry than a list of three; the user comes first because it may hold blanks.
if not alive() then
  return false
end
return user .. ' ' .. issued .. ' ' .. expires
